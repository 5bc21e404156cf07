"""The methods of cleaning: the loss of each, its batches, the rounds of unlearning, and the walk back."""
