"""What a photograph is: decoding, checks, and the one resize."""
