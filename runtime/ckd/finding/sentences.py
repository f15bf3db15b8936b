"""The catalogue of the sentences that findings say to people, in English and German.

Names of lesions (`ckd.contract.labels`) and of what is drawn are no sentences and stay English.

JSON holds codes and English sentences; a program that speaks another language translates the codes.
What people look at (lines, overlays, window, page) is in the language that the environment
variable ``CKD_LANGUAGE`` names, "en" or "de" (or "de-AT" and the like), and in English for any
other value.

Nothing beyond the standard library is imported here, so that `--help` is quick.
"""

import os
from collections.abc import Mapping
from typing import Final

from ckd.contract.labels import lesion_name

#: By code, then by language. Braces are filled in.
_CATALOGUE: Final[Mapping[str, Mapping[str, str]]] = {
    "research": {
        "en": "Research use only. Not a medical device; not for diagnosis.",
        "de": "Nur für Forschung. Kein Medizinprodukt; nicht zur Diagnose.",
    },
    "blank": {
        "en": "There is nothing in the picture to judge.",
        "de": "Auf dem Bild ist nichts zu beurteilen.",
    },
    "no_skin": {
        "en": "This does not look like a photograph of skin.",
        "de": "Das sieht nicht nach einer Aufnahme von Haut aus.",
    },
    "no_lesion": {
        "en": "No lesion was found in the picture.",
        "de": "Auf dem Bild wurde keine Läsion gefunden.",
    },
    "none_of": {"en": "none of {labels}", "de": "keines von {labels}"},
    "refer": {"en": "Referral suggested", "de": "Überweisung vorgeschlagen"},
    "no_refer": {"en": "No referral suggested", "de": "Keine Überweisung vorgeschlagen"},
    "flagged": {
        "en": "The probability of {label} reaches the threshold.",
        "de": "Die Wahrscheinlichkeit für {label} erreicht die Schwelle.",
    },
    "set_holds_target": {
        "en": "It may be {label}.",
        "de": "{label} ist möglich.",
    },
    "set_empty": {
        "en": "None of the trained classes fits.",
        "de": "Keine der gelernten Klassen passt.",
    },
    "masks_disagree": {
        "en": "The two networks outline the lesion differently.",
        "de": "Die beiden Netze umreißen die Läsion verschieden.",
    },
    "unlike_training": {
        "en": "The picture is unlike the training pictures.",
        "de": "Das Bild ist den Trainingsbildern unähnlich.",
    },
    "label_set": {
        "en": "Possible: {labels} (such lists hold the right one in {share}).",
        "de": "Möglich: {labels} (solche Listen enthalten in {share} der Fälle das Richtige).",
    },
    "probable": {
        "en": "{label} {share}, where {prevalence} are {target}",
        "de": "{label} {share}, wenn {prevalence} der Aufnahmen {target} zeigen",
    },
    "score": {"en": "{label} {share} (a score)", "de": "{label} {share} (Punktwert)"},
    "basis": {
        "en": "Percentages hold where {prevalence} are {target}.",
        "de": "Die Prozente gelten, wenn {prevalence} der Aufnahmen {target} zeigen.",
    },
    "basis_score": {
        "en": "Scores of the networks, no probabilities.",
        "de": "Punktwerte der Netze, keine Wahrscheinlichkeiten.",
    },
    "other_point": {
        "en": "Operating point: {point} (default: {default}).",
        "de": "Arbeitspunkt: {point} (Voreinstellung: {default}).",
    },
    "other_prevalence": {
        "en": "The prevalence was chosen; it changes no decision.",
        "de": "Die Häufigkeit wurde gewählt; sie ändert keine Entscheidung.",
    },
    "chosen_shares": {
        "en": "Prevalence: {shares}. It moves percentages and no decision.",
        "de": "Häufigkeit: {shares}. Sie ändert Prozente und keine Entscheidung.",
    },
    "speaks_for": {"en": "What speaks for {label}", "de": "Was für {label} spricht"},
    "title_decision": {"en": "Suggestion", "de": "Vorschlag"},
    "title_no_finding": {"en": "No finding", "de": "Kein Befund"},
    "title_no_answer": {"en": "No answer", "de": "Keine Antwort"},
    "title_top": {"en": "Most probable class", "de": "Wahrscheinlichste Klasse"},
    "fine_outline": {"en": "fine outline", "de": "feiner Umriss"},
    "coarse_outline": {"en": "coarse outline", "de": "grober Umriss"},
    "left_out_fine_mask": {
        "en": "No time for the fine outline: it was not checked that this is a lesion on skin.",
        "de": "Keine Zeit für den feinen Umriss: nicht geprüft, ob das eine Läsion auf Haut ist.",
    },
    "left_out_diagnosis": {"en": "No time for an answer", "de": "Keine Zeit für eine Antwort"},
    "late": {"en": "{late_ms} ms late.", "de": "{late_ms} ms zu spät."},
    "settling": {"en": "Hold still: not settled yet.", "de": "Ruhig halten: noch nicht gefestigt."},
    "settled": {"en": "Settled over {frames} pictures.", "de": "Gefestigt über {frames} Bilder."},
    "held": {"en": "This answer is {age} s old.", "de": "Diese Antwort ist {age} s alt."},
    "cannot_judge": {"en": "Can't judge: {why}.", "de": "Nicht zu beurteilen: {why}."},
    "good_picture": {"en": "Good picture.", "de": "Gutes Bild."},
    "hint_lens_cap": {"en": "Take off the cap.", "de": "Kappe abnehmen."},
    "hint_no_skin": {"en": "Point at skin.", "de": "Auf Haut richten."},
    "hint_motion": {"en": "Hold still.", "de": "Ruhig halten."},
    "hint_out_of_focus": {"en": "Focus.", "de": "Scharf stellen."},
    "hint_over_exposed": {"en": "Less light.", "de": "Weniger Licht."},
    "hint_under_exposed": {"en": "More light.", "de": "Mehr Licht."},
    "hint_glare": {"en": "Wipe the glass.", "de": "Glas abwischen."},
    "hint_cut_off": {"en": "Show the whole lesion.", "de": "Die ganze Läsion zeigen."},
    "hint_too_small": {"en": "Move closer.", "de": "Näher heran."},
    "hint_off_centre": {"en": "Centre the lesion.", "de": "Die Läsion in die Mitte."},
    "hint_occluded": {"en": "Move hair or ruler away.", "de": "Haare oder Lineal wegnehmen."},
    "why_lens_cap": {"en": "nothing to see", "de": "nichts zu sehen"},
    "why_no_skin": {"en": "no skin", "de": "keine Haut"},
    "why_motion": {"en": "in motion", "de": "in Bewegung"},
    "why_out_of_focus": {"en": "out of focus", "de": "unscharf"},
    "why_over_exposed": {"en": "too bright", "de": "zu hell"},
    "why_under_exposed": {"en": "too dark", "de": "zu dunkel"},
    "why_glare": {"en": "glare", "de": "Spiegelungen"},
    "why_cut_off": {"en": "lesion cut off", "de": "Läsion abgeschnitten"},
    "why_too_small": {"en": "lesion too small", "de": "Läsion zu klein"},
    "why_off_centre": {"en": "lesion off centre", "de": "Läsion nicht in der Mitte"},
    "why_occluded": {"en": "lesion covered", "de": "Läsion verdeckt"},
    "not_finite": {
        "en": "The networks gave no usable numbers for this picture.",
        "de": "Die Netze gaben für dieses Bild keine brauchbaren Zahlen.",
    },
}
LANGUAGES: Final = ("en", "de")
#: By short name; in English they are those of `ckd.contract.labels`.
_GERMAN_LESIONS: Final[Mapping[str, str]] = {
    "MEL": "Melanom",
    "SBK": "seborrhoische Keratose",
    "NEV": "Nävus",
    "NV": "melanozytärer Nävus",
    "BCC": "Basalzellkarzinom",
    "AKIEC": "aktinische Keratose / Morbus Bowen",
    "AK": "aktinische Keratose",
    "BKL": "gutartige keratotische Läsion",
    "DF": "Dermatofibrom",
    "VASC": "vaskuläre Läsion",
    "SCC": "Plattenepithelkarzinom",
    "BEN": "gutartig",
}


def sentence(code: str, language: str = "en", **words: object) -> str:
    """The sentence of a code; `KeyError` if the catalogue has no such code or language."""
    return _CATALOGUE[code][language].format(**words)


def shown(code: str, **words: object) -> str:
    """The sentence in the language of the people who look at it (``CKD_LANGUAGE``)."""
    return sentence(code, _language(), **words)


def lesion_shown(label: str) -> str:
    """The lesion of a short label in the language of who looks; unknown ones as they are."""
    name = _GERMAN_LESIONS.get(label) if _language() == "de" else None
    return name or lesion_name(label)


def percent_shown(share: float) -> str:
    """A share as a percentage for people: never 0 or 100 % of what is neither."""
    percent = 100 * share
    if percent <= 0 or percent >= 100:
        text = f"{percent:.0f}"
    elif percent < 0.01:
        text = "<0.01"
    elif percent > 99.9:
        text = ">99.9"
    else:
        text = f"{percent:.{1 if percent > 99 else 0}f}" if percent >= 9.5 else f"{percent:.2g}"
    return f"{text.replace('.', ',') if _language() == 'de' else text} %"


def _language() -> str:
    language = os.environ.get("CKD_LANGUAGE", "en").lower().replace("_", "-").partition("-")[0]
    return language if language in LANGUAGES else "en"


#: Stands in every finding that is printed or written.
NOTICE: Final = sentence("research")
