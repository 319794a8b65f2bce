"""What machines exist, what they cost, and how one is rented, reached and prepared."""
