package main

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tokenloop/tokenloop/middleware"
)

// orders is the service. It finds the claims in the context, as a handler of
// net/http does.
type orders struct{}

func (orders) get(ctx context.Context, id string) (string, error) {
	claims, _ := middleware.FromContext(ctx)
	return "order " + id + " of " + claims.Subject, nil
}

func (orders) delete(ctx context.Context, id string) (string, error) {
	claims, _ := middleware.FromContext(ctx)
	return "order " + id + " of " + claims.Subject + " is gone", nil
}

// watch sends the order, and would send what becomes of it until nobody listens
// any more.
func (o orders) watch(stream grpc.ServerStream, id string) error {
	order, err := o.get(stream.Context(), id)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(wrapperspb.String(order)); err != nil {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

// From here on is what protoc would have written, for messages that exist already.
var ordersDesc = grpc.ServiceDesc{
	ServiceName: "orders.Orders",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{unary("Get", orders.get), unary("Delete", orders.delete)},
	Streams: []grpc.StreamDesc{{StreamName: "Watch", ServerStreams: true, Handler: func(srv any, stream grpc.ServerStream) error {
		var id wrapperspb.StringValue
		if err := stream.RecvMsg(&id); err != nil {
			return err
		}
		return srv.(orders).watch(stream, id.Value)
	}}},
}

func unary(name string, method func(orders, context.Context, string) (string, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		var id wrapperspb.StringValue
		if err := decode(&id); err != nil {
			return nil, err
		}
		info := &grpc.UnaryServerInfo{Server: srv, FullMethod: "/orders.Orders/" + name}
		return intercept(ctx, &id, info, func(ctx context.Context, req any) (any, error) {
			answer, err := method(srv.(orders), ctx, req.(*wrapperspb.StringValue).Value)
			return wrapperspb.String(answer), err
		})
	}}
}
