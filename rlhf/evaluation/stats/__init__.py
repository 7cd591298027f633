"""Statistics: bootstrap, Bradley-Terry, length control, win rates."""
