-- +goose Up
CREATE TABLE IF NOT EXISTS tokenloop_denials (
	sequence      BIGINT NOT NULL PRIMARY KEY,
	nonce         BIGINT NOT NULL,
	kind          TEXT NOT NULL,
	value         TEXT COLLATE "C" NOT NULL,
	issued_before BIGINT NOT NULL,
	ends_at       BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS tokenloop_denials_value ON tokenloop_denials (value);
CREATE INDEX IF NOT EXISTS tokenloop_denials_ends_at ON tokenloop_denials (ends_at);

-- +goose Down
DROP TABLE tokenloop_denials;
