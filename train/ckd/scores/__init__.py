"""How right the answers are, as the official ISIC scorer counts."""
