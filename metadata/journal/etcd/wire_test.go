package etcd

import (
	"context"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// wire is the way of one process to etcd. It implements journaltest.Wire. A transaction that writes is a "PUT", one that deletes
// a "DELETE", one that only reads a "GET".
type wire struct {
	mu      sync.Mutex // guards all below
	kind    string     // that stalls; "" is any
	reached chan struct{}
	resume  chan struct{} // nil: nothing stalls
	hit     bool          // reached is closed
	skip    int           // PUTs that pass before
	lose    int           // the answers to so many are lost
	landed  bool
	then    func() // called after skip PUTs
}

func (w *wire) Stall(kind string) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kind, w.reached, w.resume, w.hit = kind, make(chan struct{}), make(chan struct{}), false
	return w.reached
}

func (w *wire) Resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.resume)
	w.resume = nil
}

func (w *wire) LosePut(landed bool) { w.losePuts(1, landed) }

func (w *wire) losePuts(n int, landed bool) { w.skipThenLose(0, n, landed) }

func (w *wire) skipThenLose(skip, n int, landed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.skip, w.lose, w.landed = skip, n, landed
}

// after has do called when skip PUTs were answered and another one is to be sent.
func (w *wire) after(skip int, do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.skip, w.then = skip, do
}

// pass answers what a request has to wait for, and whether its answer is lost.
func (w *wire) pass(kind string) (wait <-chan struct{}, lose, landed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.resume != nil && (w.hit || w.kind == "" || w.kind == kind) {
		if !w.hit {
			w.hit = true
			close(w.reached)
		}
		wait = w.resume
	}
	switch {
	case kind != "PUT":
	case w.skip > 0:
		w.skip--
	case w.then != nil:
		w.then()
		w.then = nil
	case w.lose > 0:
		w.lose--
		return wait, true, w.landed
	}
	return wait, false, false
}

func kindOf(request any) string {
	txn, ok := request.(*pb.TxnRequest)
	if !ok {
		return "OTHER"
	}
	for _, op := range txn.Success {
		switch {
		case op.GetRequestPut() != nil:
			return "PUT"
		case op.GetRequestDeleteRange() != nil:
			return "DELETE"
		}
	}
	return "GET"
}

func (w *wire) intercept(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	wait, lose, landed := w.pass(kindOf(request))
	if wait != nil {
		<-wait
	}
	if lose && !landed {
		return status.Error(codes.Unavailable, "the request was lost")
	}
	if err := invoke(ctx, method, request, reply, cc, opts...); err != nil || !lose {
		return err
	}
	return status.Error(codes.Unavailable, "the answer was lost")
}
