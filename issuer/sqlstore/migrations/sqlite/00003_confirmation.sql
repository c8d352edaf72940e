-- +goose Up
ALTER TABLE tokenloop_sessions ADD COLUMN confirmation TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE tokenloop_sessions DROP COLUMN confirmation;
