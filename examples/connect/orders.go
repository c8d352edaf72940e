package main

import (
	"context"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tokenloop/tokenloop/middleware"
)

// get finds the claims in the context, as a handler of net/http does.
func get(ctx context.Context, id *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
	claims, _ := middleware.FromContext(ctx)
	return wrapperspb.String("order " + id.Value + " of " + claims.Subject), nil
}

func remove(ctx context.Context, id *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
	claims, _ := middleware.FromContext(ctx)
	return wrapperspb.String("order " + id.Value + " of " + claims.Subject + " is gone"), nil
}

func watch(ctx context.Context, id *wrapperspb.StringValue, stream *connect.ServerStream[wrapperspb.StringValue]) error {
	order, err := get(ctx, id)
	if err != nil {
		return err
	}
	return stream.Send(order) // and would go on until ctx is done
}

// ordersHandler is what Connect's generator would have written, for messages that
// exist already.
func ordersHandler(options ...connect.HandlerOption) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/orders.Orders/Get", connect.NewUnaryHandlerSimple("/orders.Orders/Get", get, options...))
	mux.Handle("/orders.Orders/Delete", connect.NewUnaryHandlerSimple("/orders.Orders/Delete", remove, options...))
	mux.Handle("/orders.Orders/Watch", connect.NewServerStreamHandlerSimple("/orders.Orders/Watch", watch, options...))
	return mux
}
