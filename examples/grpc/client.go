package main

import (
	"context"
	"sync/atomic"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// A bearer gives calls the access token of a session (credentials.PerRPCCredentials).
type bearer struct {
	session *refresher.Transport

	// InsecureAllowPlaintext allows connections without TLS, on which everybody
	// on the way can read the token.
	InsecureAllowPlaintext bool
}

func (b bearer) RequireTransportSecurity() bool { return !b.InsecureAllowPlaintext }

// GetRequestMetadata returns the token, and waits for another one if it has
// expired. Calls that come together wait for one refresh.
func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	tokens, err := b.session.Token(ctx)
	if err != nil {
		return nil, unsent(ctx, err)
	}
	if sent, ok := ctx.Value(sentKey{}).(*atomic.Pointer[refresher.Tokens]); ok {
		sent.Store(&tokens)
	}
	return map[string]string{"authorization": "Bearer " + tokens.AccessToken}, nil
}

// unsent is the status of a call that no token could be had for. Of the codes that
// gRPC allows here, these are the nearest.
func unsent(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	code := codes.Unavailable
	switch jwterrors.ReasonOf(err).Action() {
	case jwterrors.ActionLogin:
		code = codes.Unauthenticated
	case jwterrors.ActionNone: // a person must mend something
		code = codes.Internal
	}
	return status.Error(code, err.Error())
}

// sentKey is where a call keeps the tokens that it was sent with.
type sentKey struct{}

// unary calls once more with a new token if the server's reason is one that a new
// token cures: a revoked token, for example, has not expired. Any number of calls
// that are refused together cost one refresh.
func (b bearer) unary(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	sent := new(atomic.Pointer[refresher.Tokens])
	ctx = context.WithValue(ctx, sentKey{}, sent)
	err := call(ctx, method, req, reply, conn, opts...)
	if b.outdated(ctx, sent.Swap(nil), err) {
		err = call(ctx, method, req, reply, conn, opts...)
		b.outdated(ctx, sent.Load(), err) // a newer token did not help: the session remembers
	}
	return err
}

// outdated tells the session what the answer err says about the tokens that were
// sent, and reports whether there are others to try. It waits for them.
func (b bearer) outdated(ctx context.Context, sent *refresher.Tokens, err error) bool {
	switch {
	case sent == nil: // there was no token
		return false
	case err == nil:
		b.session.Accepted(*sent)
		return false
	case status.Code(err) != codes.Unauthenticated:
		return false
	}
	if reason := reasonOf(err); reason != "" {
		err = reason
	}
	_, err = b.session.Refused(ctx, *sent, err)
	return err == nil
}

// stream opens streams. One that is refused is not opened again, since what was
// sent on it is gone, but the next one has another token.
func (b bearer) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	sent := new(atomic.Pointer[refresher.Tokens])
	stream, err := open(context.WithValue(ctx, sentKey{}, sent), desc, conn, method, opts...)
	if err != nil {
		return nil, err
	}
	return &bearerStream{stream, b, sent.Load()}, nil
}

type bearerStream struct {
	grpc.ClientStream
	bearer bearer
	sent   *refresher.Tokens
}

func (s *bearerStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // nobody here waits for the refresh
	s.bearer.outdated(ctx, s.sent, err)
	return err
}

// reasonOf reads back what refusal wrote. It is "" for any other error.
func reasonOf(err error) jwterrors.Reason {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.Domain == domain {
			return jwterrors.Reason(info.Reason)
		}
	}
	return ""
}
