package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/chaos"
)

// A tap sends requests, each on a connection of its own, and shows the witness the
// tokens that come and go.
type tap struct {
	base    *http.Transport
	witness *witness
	minted  func(access string) // is told of each access token
}

// pair is what a login and a refresh are answered with.
type pair struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

func (t *tap) RoundTrip(r *http.Request) (*http.Response, error) {
	var presented string
	begins := strings.HasSuffix(r.URL.Path, "/login")
	rotates := strings.HasSuffix(r.URL.Path, "/refresh")
	if rotates {
		t.witness.secret(r.Header.Get("Idempotency-Key"))
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			return nil, err
		}
		var p pair
		if err := json.Unmarshal(body, &p); err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
		presented = p.Refresh
	}
	resp, err := t.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusInternalServerError {
		t.witness.violate("%s %s is answered 500", r.Method, r.URL.Path)
	}
	if resp.StatusCode != http.StatusOK || !begins && !rotates {
		return resp, nil
	}
	data, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(data), broken{err}))
	var p pair
	if err == nil && json.Unmarshal(data, &p) == nil {
		t.witness.answered(presented, p.Refresh, p.Access)
		t.minted(p.Access)
	}
	return resp, nil
}

// broken is the end of a body that broke off, or an end without an error.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	return 0, io.EOF
}

// deaf is the way of a process that ends before it hears what a refresh has brought.
type deaf struct{ http.RoundTripper }

func (d deaf) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := d.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	return nil, errNoAnswer
}

// A person is somebody who speaks to the servers by hand, as a thief does.
type person struct{ *http.Client }

// errNoAnswer is an answer that says nothing of the token: there was none, or the
// server is in trouble.
var errNoAnswer = errors.New("there was no answer that counts")

func (p person) post(ctx context.Context, url, body, key string) (pair, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return pair{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	resp, err := p.Do(r)
	if err != nil {
		return pair{}, errNoAnswer
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 500 {
		return pair{}, errNoAnswer
	}
	if resp.StatusCode != http.StatusOK {
		return pair{}, reason(resp)
	}
	var got pair
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return pair{}, errNoAnswer
	}
	return got, nil
}

func (p person) login(ctx context.Context, server string) (pair, error) {
	body, err := json.Marshal(map[string]string{"username": chaos.User, "password": chaos.Password})
	if err != nil {
		return pair{}, err
	}
	return p.post(ctx, server+"/auth/login", string(body), "")
}

func (p person) refresh(ctx context.Context, server, token, key string) (pair, error) {
	return p.post(ctx, server+"/auth/refresh", `{"refresh_token":"`+token+`"}`, key)
}

// me uses an access token, and returns what was wrong with it.
func (p person) me(ctx context.Context, server, token string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/api/me", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := p.Do(r)
	if err != nil {
		return errNoAnswer
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK:
		return nil
	case resp.StatusCode >= 500:
		return errNoAnswer
	}
	return reason(resp)
}

// reason returns why a request was refused.
func reason(resp *http.Response) error {
	if e := jwterrors.FromResponse(resp); e != nil {
		return e.Reason
	}
	return errNoAnswer // it broke off
}
