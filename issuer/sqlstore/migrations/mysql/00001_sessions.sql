-- +goose Up
CREATE TABLE IF NOT EXISTS tokenloop_subjects (
	subject    VARBINARY(2048) NOT NULL PRIMARY KEY,
	revoked_at BIGINT NOT NULL,
	KEY tokenloop_subjects_revoked_at (revoked_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;

CREATE TABLE IF NOT EXISTS tokenloop_sessions (
	id         VARBINARY(64) NOT NULL PRIMARY KEY,
	seed       VARBINARY(64) NOT NULL,
	generation BIGINT NOT NULL,
	key_id     BLOB NOT NULL,
	rotated_at BIGINT NOT NULL,
	retry_hash VARBINARY(64),
	subject    VARBINARY(2048) NOT NULL,
	client_id  BLOB NOT NULL,
	scopes     BLOB NOT NULL,
	email      BLOB NOT NULL,
	user_id    BLOB NOT NULL,
	claims     MEDIUMBLOB,
	acr        BLOB NOT NULL,
	auth_time  BIGINT NOT NULL,
	device     BLOB NOT NULL,
	address    BLOB NOT NULL,
	user_agent BLOB NOT NULL,
	created_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	idle_until BIGINT NOT NULL,
	ends_at    BIGINT NOT NULL,
	revoked_at BIGINT NOT NULL,
	KEY tokenloop_sessions_subject (subject),
	KEY tokenloop_sessions_ends_at (ends_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;

-- +goose Down
DROP TABLE tokenloop_sessions;
DROP TABLE tokenloop_subjects;
