"""`kubectl tradingbot`: stops bots and waits for the proof. It talks to the API server alone."""
