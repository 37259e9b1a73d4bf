"""What the types that speak HTTP share."""
