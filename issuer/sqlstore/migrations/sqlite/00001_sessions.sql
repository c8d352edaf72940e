-- +goose Up
CREATE TABLE IF NOT EXISTS tokenloop_subjects (
	subject    TEXT NOT NULL PRIMARY KEY,
	revoked_at BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS tokenloop_sessions (
	id         TEXT NOT NULL PRIMARY KEY,
	seed       BLOB NOT NULL,
	generation BIGINT NOT NULL,
	key_id     TEXT NOT NULL,
	rotated_at BIGINT NOT NULL,
	retry_hash BLOB,
	subject    TEXT NOT NULL,
	client_id  TEXT NOT NULL,
	scopes     TEXT NOT NULL,
	email      TEXT NOT NULL,
	user_id    TEXT NOT NULL,
	claims     BLOB,
	acr        TEXT NOT NULL,
	auth_time  BIGINT NOT NULL,
	device     TEXT NOT NULL,
	address    TEXT NOT NULL,
	user_agent TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	idle_until BIGINT NOT NULL,
	ends_at    BIGINT NOT NULL,
	revoked_at BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS tokenloop_subjects_revoked_at ON tokenloop_subjects (revoked_at);
CREATE INDEX IF NOT EXISTS tokenloop_sessions_subject ON tokenloop_sessions (subject);
CREATE INDEX IF NOT EXISTS tokenloop_sessions_ends_at ON tokenloop_sessions (ends_at);

-- +goose Down
DROP TABLE tokenloop_sessions;
DROP TABLE tokenloop_subjects;
