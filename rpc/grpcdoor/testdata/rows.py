"""What the rows of the specification ask for, as seen by another maker's gRPC."""
import os
import sys
import threading

sys.path.insert(0, os.getcwd())
import grpc

import calls_pb2 as pb
import rpcpool

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


def channel():
    return grpc.insecure_channel(sys.argv[1], options=OPTIONS)


def invoke(at, **request):
    return at.unary_unary("/rpcpool.v1.Calls/Invoke", request_serializer=pb.InvokeRequest.SerializeToString,
                          response_deserializer=pb.InvokeResponse.FromString)(pb.InvokeRequest(**request), timeout=20)


def refused(what, at, **request):
    try:
        print(what, "was answered:", invoke(at, **request))
    except grpc.RpcError as error:
        f = rpcpool.failure_of(error)
        print(what, error.code().name, pb.Code.Name(f.code), pb.Execution.Name(f.execution))
        return f


at = channel()
session = rpcpool.Session(at)
s = session.session
print("duplicates by three channels:", {invoke(channel(), session=s, seq=1, method="count", args=b"x").result for _ in range(3)})
refused("wrong secret:", at, session=pb.Session(id=s.id, secret=bytes(16)), seq=1, method="count", args=b"x")
refused("unknown method:", at, session=s, seq=2, method="none")
answer = session._cancel(pb.CancelRequest(session=s, seq=3), timeout=20)
print("cancel overtakes:", pb.Code.Name(answer.failure.code), pb.Execution.Name(answer.failure.execution))
refused("and its call:", at, session=s, seq=3, method="count", args=b"never")
try:
    invoke(at, session=s, seq=4, method="fail", args=b"d" * 5000)
except grpc.RpcError as error:
    f = rpcpool.failure_of(error)
    whole = session._cancel(pb.CancelRequest(session=s, seq=4), timeout=20).failure
    print("long error: %d bytes, %d cut, the whole %d" % (len(f.detail), f.detail_cut, len(whole.detail)))
big = os.urandom(5 << 20)
print("big message:", invoke(at, session=s, seq=5, method="echo", args=big).result == big)

lost = channel()
call = lost.unary_unary("/rpcpool.v1.Calls/Invoke", request_serializer=pb.InvokeRequest.SerializeToString,
                        response_deserializer=pb.InvokeResponse.FromString)
call.future(pb.InvokeRequest(session=s, seq=6, method="count", args=b"y"))
lost.close()
print("lost connection, asked again:", invoke(at, session=s, seq=6, method="count", args=b"y").result)
session._last = 6

results = []
threads = [threading.Thread(target=lambda n=n: results.extend(session.call("count", b"%d %d" % (n, i)) for i in range(25))) for n in range(8)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print("threads: %d results, %d different" % (len(results), len(set(results))))
session.close()
refused("closed:", at, session=s, seq=300, method="count")
