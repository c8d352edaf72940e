package redisstore

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Every script has keys of one slot, and is one step. What goes over 1<<53, where
// the numbers of Lua end, is compared as text alone.

// begin writes a session that is not there yet for others, unless its ID is taken.
// It may be sent again by the same login.
//
//	session: nonce, milliseconds, fields and values
var begin = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'p') == ARGV[1] then return 1 end
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'p', ARGV[1], unpack(ARGV, 3))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1`)

// decide puts a session into the index of its subject, unless the subject was
// marked since its login began: then it answers nothing. Else it answers the ID
// and those of the sessions that it replaces, which it keeps for who asks again.
//
//	index, mark, replacing: id, auth time, milliseconds in the index, 1 to replace, milliseconds of the answer
var decide = redis.NewScript(`
local marked = redis.call('GET', KEYS[2])
if marked and tonumber(ARGV[2]) <= tonumber(marked) then return {} end
if ARGV[4] == '1' then
  local before = redis.call('LRANGE', KEYS[3], 0, -1)
  if #before > 0 then return before end
end
local time = redis.call('TIME')
local now = time[1] * 1000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now))
local ids = {ARGV[1]}
if ARGV[4] == '1' then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if id ~= ARGV[1] then ids[#ids + 1] = id end
  end
  for _, id in ipairs(ids) do redis.call('RPUSH', KEYS[3], id) end
  redis.call('PEXPIRE', KEYS[3], ARGV[5])
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[3]), ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return ids`)

// index is the part of decide that puts a session into the index.
//
//	index: id, milliseconds
var index = redis.NewScript(`
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], 'NX', string.format('%.0f', time[1] * 1000 + ARGV[2]), ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end`)

// finish lets a session be there, and reports whether it is.
//
//	session: milliseconds
var finish = redis.NewScript(`
if redis.call('HDEL', KEYS[1], 'p') == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return redis.call('EXISTS', KEYS[1])`)

// discard removes what begin has written.
//
//	session: nonce
var discard = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'p') == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1`)

// rotate moves a session on, unless it has done so for the same nonce: then it was
// sent again. Generations are compared as text.
//
//	session: from, to, rotated at, idle end or nothing, milliseconds to it, now in ms less an hour, key id, retry hash, nonce
var rotate = redis.NewScript(`
local s = redis.call('HMGET', KEYS[1], 'g', 'e', 'i', 'v', 'p', 'h', 'x')
local at = tonumber(ARGV[3])
if s[4] or s[5] then return 0 end
if s[1] == ARGV[2] and s[7] == ARGV[9] then return 1 end
if s[1] ~= ARGV[1] or at >= tonumber(s[2]) or s[3] and at >= tonumber(s[3]) then return 0 end
if ARGV[8] ~= '' then
  redis.call('HSET', KEYS[1], 'g', ARGV[2], 'r', ARGV[3], 'k', ARGV[7], 'x', ARGV[9], 'h', ARGV[8])
else
  redis.call('HSET', KEYS[1], 'g', ARGV[2], 'r', ARGV[3], 'k', ARGV[7], 'x', ARGV[9])
  if s[6] then redis.call('HDEL', KEYS[1], 'h') end
end
if ARGV[4] ~= '' or s[3] then
  local left = math.max(tonumber(s[2]) / 1000 - ARGV[6], 3600000)
  if ARGV[4] == '' then
    redis.call('HDEL', KEYS[1], 'i')
  else
    redis.call('HSET', KEYS[1], 'i', ARGV[4])
    left = math.min(left, tonumber(ARGV[5]))
  end
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', left))
end
return 1`)

// revoke answers 1, 0 when the session was revoked before, and -1 when there is none.
//
//	session: revoked at
var revoke = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
return redis.call('HSETNX', KEYS[1], 'v', ARGV[1])`)

// mark marks a subject, unless a later mark is there, and answers its sessions.
//
//	index, mark: revoked at, milliseconds
var mark = redis.NewScript(`
local marked = redis.call('GET', KEYS[2])
if marked and tonumber(marked) > tonumber(ARGV[1]) then
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
else
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
end
return redis.call('ZRANGE', KEYS[1], 0, -1)`)

// purge removes a session whose end is before the time given.
//
//	session: before
var purge = redis.NewScript(`
local s = redis.call('HMGET', KEYS[1], 'e', 'i')
local before = tonumber(ARGV[1])
if s[1] and (tonumber(s[1]) < before or s[2] and tonumber(s[2]) < before) then return redis.call('DEL', KEYS[1]) end
return 0`)

// forget removes a mark that is older than the time given.
//
//	mark: before
var forget = redis.NewScript(`
local marked = redis.call('GET', KEYS[1])
if marked and tonumber(marked) < tonumber(ARGV[1]) then return redis.call('DEL', KEYS[1]) end
return 0`)

// each calls f for every server that is written to, one after the other.
func each(ctx context.Context, client redis.UniversalClient, f func(context.Context, redis.Cmdable) error) error {
	cluster, ok := client.(*redis.ClusterClient)
	if !ok {
		return f(ctx, client)
	}
	var mu sync.Mutex
	return cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		return f(ctx, node)
	})
}
