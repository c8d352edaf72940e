module github.com/tokenloop/tokenloop/examples

go 1.26.0

require github.com/tokenloop/tokenloop v0.0.0-00010101000000-000000000000

replace github.com/tokenloop/tokenloop => ../
