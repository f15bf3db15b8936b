"""The catalogue of the sentences that findings say to people, in English and German.

Names of lesions (`ckd.contract.labels`) and of what is drawn are no sentences and stay English.

JSON holds codes and English sentences; a program that speaks another language translates the codes.
What people look at (lines, overlays, window, page) is in the language that the environment
variable ``CKD_LANGUAGE`` names, "en" or "de" (or "de-AT" and the like), and in English for any
other value.

Only the standard library is imported here, so that `--help` is quick.
"""

import os
from collections.abc import Mapping
from typing import Final

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
    "refer": {"en": "Referral suggested", "de": "Überweisung empfohlen"},
    "no_refer": {"en": "No referral suggested", "de": "Keine Überweisung empfohlen"},
    "flagged": {
        "en": "The probability of {label} is above the threshold.",
        "de": "Die Wahrscheinlichkeit für {label} liegt über der Schwelle.",
    },
    "set_holds_target": {
        "en": "It may be {label}.",
        "de": "Es kann {label} sein.",
    },
    "set_empty": {
        "en": "None of the trained classes fits.",
        "de": "Keine der gelernten Klassen passt.",
    },
    "masks_disagree": {
        "en": "The two outlines of the lesion disagree.",
        "de": "Die beiden Umrisse der Läsion weichen voneinander ab.",
    },
    "unlike_training": {
        "en": "The picture is unlike those that the networks were trained on.",
        "de": "Das Bild gleicht den Bildern nicht, mit denen die Netze trainiert wurden.",
    },
    "label_set": {
        "en": "{labels}: the set holds the true one in {share} of photographs.",
        "de": "{labels}: die Menge enthält bei {share} der Aufnahmen die richtige.",
    },
    "probable": {
        "en": "{label} {share}, where {prevalence} are {target}",
        "de": "{label} {share}, wo {prevalence} {target} sind",
    },
    "score": {"en": "{label} {share} (a score)", "de": "{label} {share} (Punktwert)"},
    "not_finite": {
        "en": "The networks gave no usable numbers for this picture.",
        "de": "Die Netze gaben für dieses Bild keine brauchbaren Zahlen.",
    },
}
LANGUAGES: Final = ("en", "de")


def sentence(code: str, language: str = "en", **words: object) -> str:
    """The sentence of a code; `KeyError` if the catalogue has no such code or language."""
    return _CATALOGUE[code][language].format(**words)


def shown(code: str, **words: object) -> str:
    """The sentence in the language of the people who look at it (``CKD_LANGUAGE``)."""
    language = os.environ.get("CKD_LANGUAGE", "en").lower().replace("_", "-").partition("-")[0]
    return sentence(code, language if language in LANGUAGES else "en", **words)


#: Stands in every finding that is printed or written.
NOTICE: Final = sentence("research")
