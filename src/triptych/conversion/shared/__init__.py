"""What the tables of several architectures share. The tables themselves are in architectures/."""
