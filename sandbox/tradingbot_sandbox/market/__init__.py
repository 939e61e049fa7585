"""What the world does, venue-neutral: markets that trade, their books and their candles. No protocol here."""
