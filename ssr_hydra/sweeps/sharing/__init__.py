"""Find jobs of a sweep that start with the same steps (a shared prefix), and train these steps only once."""
