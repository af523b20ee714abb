"""Many runs for one question: which parameters give the best metric."""
