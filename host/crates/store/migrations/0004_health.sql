-- How a member did when it was saved: unknown, healthy, degraded or unhealthy. For people who look; nothing depends on it.
ALTER TABLE members ADD COLUMN health TEXT NOT NULL DEFAULT 'unknown';
