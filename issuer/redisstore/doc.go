// Package redisstore keeps the sessions of an issuer in Redis or Valkey, on
// go-redis. Two issuers on one server, or one Cluster, are one issuer.
//
//	client := redis.NewClient(&redis.Options{Addr: "localhost:6379", ContextTimeoutEnabled: true})
//	store, err := redisstore.New(redisstore.Config{Client: client})
package redisstore
