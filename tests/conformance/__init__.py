"""The conformance suite: what an adapter must compute, case by case. Also `bakeoff conform`."""
