"""What findings say in words. Nothing is imported here, so that `--help` is quick."""

#: Stands in every finding that is printed or written.
NOTICE = "Research use only. Not a medical device; not for diagnosis."

#: The warning if the mask is empty. The classifier gives probabilities for any image, even a blank
#: one.
NO_LESION = "No lesion was outlined, so the diagnosis means nothing."
