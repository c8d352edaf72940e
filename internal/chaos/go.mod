module github.com/tokenloop/tokenloop/internal/chaos

go 1.26.0

require github.com/tokenloop/tokenloop v0.0.0-00010101000000-000000000000

require (
	github.com/MicahParks/jwkset v0.11.3 // indirect
	github.com/MicahParks/keyfunc/v3 v3.9.0 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/time v0.15.0 // indirect
)

replace github.com/tokenloop/tokenloop => ../../
