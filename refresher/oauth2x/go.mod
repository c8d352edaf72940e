module github.com/tokenloop/tokenloop/refresher/oauth2x

go 1.26.0

require (
	github.com/stretchr/testify v1.12.1
	github.com/tokenloop/tokenloop v0.0.0-00010101000000-000000000000
	golang.org/x/oauth2 v0.37.0
)

require (
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
)

replace github.com/tokenloop/tokenloop => ../../
