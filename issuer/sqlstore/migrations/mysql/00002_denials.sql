-- +goose Up
CREATE TABLE IF NOT EXISTS tokenloop_denials (
	sequence      BIGINT NOT NULL PRIMARY KEY,
	nonce         BIGINT NOT NULL,
	kind          VARBINARY(8) NOT NULL,
	value         VARBINARY(2048) NOT NULL,
	issued_before BIGINT NOT NULL,
	ends_at       BIGINT NOT NULL,
	KEY tokenloop_denials_value (value),
	KEY tokenloop_denials_ends_at (ends_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;

-- +goose Down
DROP TABLE tokenloop_denials;
