"""What a trained system is worth: scores, pictures, and what speaks for its answers."""
