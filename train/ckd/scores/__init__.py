"""Scores of answers, as the official ISIC scorer computes them."""
