"""The page on which people rank answers, and the one that shows how it goes."""
