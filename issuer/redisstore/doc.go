// Package redisstore keeps the sessions of an issuer in Redis or Valkey, on
// go-redis, and with them the list of denied access tokens, the budgets of logins
// and the proofs that were used. Two issuers on one server, or on one Cluster, are one issuer.
//
//	client := redis.NewClient(&redis.Options{Addr: "localhost:6379", ContextTimeoutEnabled: true})
//	store, err := redisstore.New(redisstore.Config{Client: client})
//	...
//	err = redisstore.Check(ctx, client) // when the service starts
//
// The client is one of go-redis: NewClient for one server, NewFailoverClient for
// Sentinel, NewClusterClient for a Cluster. With ContextTimeoutEnabled a request
// that has a deadline waits no longer than that. A client that reads from replicas
// is refused where it shows; a Ring is refused too.
//
// Redis 6.2 or later is needed. The tests run with Redis 7.0, alone and as a Cluster
// of three. Sentinel and Valkey speak the same protocol and were not tested.
//
// # Keys
//
// They begin with Config.Prefix, "tokenloop:" by default.
//
//	s:<sid>                  hash: a session
//	u:{<hash of subject>}    sorted set: the sessions of a subject, by when they leave
//	u:{<hash of subject>}:m  string: when the subject was revoked, for 10 minutes
//	u:{<hash of subject>}:r:<sid>  list: what a login replaces, for 10 minutes
//	{denied}:list, :news, :head    the feed of denials
//	l:<key>                  string: a budget of the Limiter
//	p:<hash of proof>        string: a proof that was used, of Replays
//
// A field that a session lacks is empty: processes of an older version can run beside
// newer ones, and keep what they do not know. Let no session be bound (DPoP and
// CertificateBound of the issuer) before all of them are replaced, or an old one
// answers its refresh without a proof.
//
// A refresh reads one hash and writes it in one script: one key, and so one slot of
// a Cluster. Revoke is the same. The sessions of a subject are in other slots than
// its own keys, and no step reaches over slots, so logins and revocations of a
// subject go like this:
//
//	login            1. the session is written, and is not there yet for others
//	                 2. the keys of the subject decide: refused by a mark, or in the index
//	                 3. with Replace: those that it replaces are revoked
//	                 4. the session is there
//	RevokeSubject    1. the subject is marked, and its index read
//	                 2. the sessions are revoked, one by one
//
// The second step of a login and the first of a revocation happen one after the
// other. So a login finds the mark, or is in the index and is revoked. A login that
// was cut off after its second step is brought to its end by who reads its session
// or lists its subject; one that was cut off before leaves within 10 minutes. Of a
// Replace that returned an error therefore all has happened or nothing, once its
// session is looked at: until then the old sessions may go on.
//
// A command that the client sends again, because its answer was lost, does nothing
// twice, but Limiter.Take.
//
// # What ends
//
// A key leaves by itself: a session an hour after its end, so that its client
// learns that it expired, and a replay of any age is recognised until then. How
// long a session has left is counted by Config.Now, and from then on by the server:
// its clock need not agree with that of the issuers. A session that is gone leaves
// the index when List or RevokeSubject meets it, or at its absolute end.
//
// # Settings of the server
//
//	maxmemory-policy noeviction  else it throws sessions and revocations away; full, it refuses logins
//	appendonly yes               else a restart has no session
//	appendfsync everysec         a crash of the machine loses a second or two; always: nothing that was answered
//	min-replicas-to-write 1      so that a server without its replicas takes nothing that would be lost
//
// Check looks at the first two. A process that is killed loses nothing with either
// appendfsync. A user of the server needs, for the keys of the prefix (~tokenloop:*),
//
//	+eval +evalsha +hget +hgetall +hmget +hset +hsetnx +hdel +exists +del +get +set +pexpire +pttl
//	+lrange +rpush +zadd +zcard +zcount +zrange +zrevrange +zrem +zremrangebyrank +zremrangebyscore +zscore
//	+xadd +xrange +xrevrange +xread +multi +exec +time +ping +hello +client +info +scan +cluster|slots +cluster|shards
//
// Errors are those of go-redis, wrapped, and hold no value of a session: see
// redis.IsAuthError, IsReadOnlyError, IsOOMError and the like. go-redis tells of
// connections that it does not get on stderr; its package logging turns that off.
//
// # Size
//
// A session with an email address, two scopes, a small claim and the user agent of
// a browser takes 472 bytes, and 864 with the index of a subject that has no other:
// measured with 5,000 of them after one rotation, in Redis 7.0. Text is cut in pieces
// of 64 bytes, so that Redis keeps the hash as a listpack.
//
// 100 million sessions are some 86 GB. Refreshed every 15 minutes they are 111,000
// refreshes a second, of one read and one script each: more than one server should
// be asked for, and of a Cluster each server has its part, since a refresh and a
// Revoke name one key by the ID of the session. Logins take 3 commands, 4 where they
// replace others. Get and Rotate together reach 83 to 96 % of HGETALL and HSET of the
// same hash by the same client, measured in turn on one machine.
//
// # What a fail-over may lose
//
// Replication is asynchronous. A replica that takes over without the last writes of
// its primary has forgotten
//
//   - the last logins: they must be made again;
//   - the last revocations: they must be made again, and are the reason for
//     min-replicas-to-write;
//   - the last rotations: clients hold refresh tokens newer than their sessions. The
//     issuer moves the session up and tells of it (EventLostWrite), and nobody is
//     logged out;
//   - of a Cluster, the index of a subject whose session is in another slot: the first
//     two refreshes of a session put it back, and RevokeSubject overlooks it until then.
//
// # Feed
//
// A [Feed] is the Denylist of issuers and keeps the mirrors of services in step,
// the Denylist of the package middleware for example. What is denied is in a sorted
// set, and the last 10,000 or so denials are in a stream too, each with the name of
// the one before it. A service reads the set when it starts and follows the stream;
// when a name does not match, because the stream was trimmed or the server lost
// something, it reads the set again. It tells the mirror that nothing is missing
// with a time of its own clock from before the read that shows it. What the server
// has lost, mirrors that knew it keep.
//
// From revoke to refusal at another process took 0.7 ms (p50) and 4.3 ms (p99), with
// 300 revocations on a busy machine of two cores. An entry of the set takes 150 bytes,
// one of the stream 130. Entries leave ten minutes after they end. All are in one slot
// of a Cluster, and a set that is full (FeedConfig.MaxEntries) refuses more.
//
// # Limiter
//
// A [Limiter] is the Limiter of issuer.Limits for all processes together, by the
// clock of the server. A budget takes a key of some 100 bytes until it is whole.
//
// # Replays
//
// [Replays] tell for all processes together whether a DPoP proof (RFC 9449) was used
// before. A proof takes a key of some 250 bytes until it is over, and one SET NX; one
// that comes again takes a GET more. 1,000 requests a second, with proofs that count
// for a minute, are 30 MB: a proof is remembered for two, since clocks differ. The
// server must not evict: a proof that it forgets can be used again. A fail-over may
// lose the last ones. A verifier that keeps nothing else here needs +set, +get, +ping,
// +hello, +client and, for Check, +info.
package redisstore
