"""From a deployment and the user's wishes to what is asked of EC2, and how the box is reached."""
