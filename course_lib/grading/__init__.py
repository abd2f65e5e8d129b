"""Release assignments and grade what comes back: student code runs in a sandboxed worker, the judging is done outside it."""
