package main

import (
	"sync"
	"testing"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

func TestSignup(t *testing.T) { // JG-02
	each(t, append([]engine{{"memory", func(*testing.T) string { return "memory:" }}}, engines...), func(t *testing.T, store string) {
		p := start(t, "-store", store)
		const carol = `{"username":"carol","password":"carol's long password"}`
		p.secrets = append(p.secrets, "carol's")
		r := p.do("POST", "/auth/signup", "", carol)
		p.want(r, 201, "")
		me := p.do("GET", "/api/me", r.str("access_token"), "")
		p.want(me, 200, "")
		if me.str("sub") != "carol" || me.str("scope") != "api:read api:write" {
			t.Errorf("claims are %v", me.body)
		}
		p.refresh(r.str("refresh_token"))
		p.want(p.do("POST", "/auth/login", "", carol), 200, "")
		p.want(p.do("POST", "/auth/login", "", `{"username":"carol","password":"another password"}`), 401, jwterrors.CredentialsInvalid)

		const password = `","password":"a long enough password"}`
		for _, name := range []string{"carol", userName, appID, mobileID} {
			p.want(p.do("POST", "/auth/signup", "", `{"username":"`+name+password), 409, jwterrors.UserExists)
		}
		for _, name := range []string{"Carol", "carol ", `carol\u0000`, "çarol", "a@example.com"} {
			p.want(p.do("POST", "/auth/signup", "", `{"username":"`+name+password), 400, jwterrors.RequestInvalid)
			p.want(p.do("POST", "/auth/login", "", `{"username":"`+name+`","password":"carol's long password"}`), 401, jwterrors.CredentialsInvalid)
		}
		p.want(p.do("POST", "/auth/signup", "", `{"email":"carol@example.com`+password), 400, jwterrors.RequestInvalid)
		p.want(p.do("POST", "/auth/signup", "", `{"username":"dave","password":"short"}`), 400, jwterrors.RequestInvalid)
		p.want(p.do("POST", "/auth/login", "", credentials), 200, "")
	})
}

// Of several signups with one name, one succeeds.
func TestANameIsTakenOnce(t *testing.T) {
	each(t, engines, func(t *testing.T, store string) {
		flags := append(shared(t, store), "-insecure-no-limits")
		a, b := start(t, flags...), start(t, flags...)
		var all sync.WaitGroup
		var mu sync.Mutex
		statuses := map[int]int{}
		for n := range 8 {
			all.Go(func() {
				p := []*process{a, b}[n%2]
				r := p.do("POST", "/auth/signup", "", `{"username":"carol","password":"carol's long password"}`)
				mu.Lock()
				defer mu.Unlock()
				statuses[r.status]++
			})
		}
		all.Wait()
		if statuses[201] != 1 || statuses[409] != 7 {
			t.Errorf("the answers are %v", statuses)
		}
	})
}
