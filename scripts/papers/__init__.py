"""A published paper's rows: declared, composed, judged."""
