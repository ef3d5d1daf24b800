"""Many runs, one answer: studies, the claims they test and the report they end in (floor 5)."""
