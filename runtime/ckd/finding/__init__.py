"""From the logits of a cascade to what a person sees."""
