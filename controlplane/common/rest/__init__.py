"""What every REST edge shares: the way of a request, its error shapes, fields, paging and paths. It imports no app."""
