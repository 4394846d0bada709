"""Wing 2: from utterances to a trained network. The one wing that needs torch (extra `[train]`)."""
