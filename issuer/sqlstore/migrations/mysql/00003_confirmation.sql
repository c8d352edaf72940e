-- +goose Up
ALTER TABLE tokenloop_sessions ADD COLUMN confirmation VARBINARY(64) NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE tokenloop_sessions DROP COLUMN confirmation;
