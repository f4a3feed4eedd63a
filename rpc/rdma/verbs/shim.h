// libibverbs as the Go side calls it: without structures that have to be filled in.
#ifndef RPCPOOL_SHIM_H
#define RPCPOOL_SHIM_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <infiniband/verbs.h>

// shim_load finds the library, once. It returns why it cannot be used, or NULL.
const char *shim_load(void);

static inline int shim_port(struct ibv_context *c, int port, struct ibv_port_attr *a)
{
	memset(a, 0, sizeof *a);
	return ibv_query_port(c, port, a);
}

static inline int shim_gid(struct ibv_context *c, int port, int index, void *gid)
{
	union ibv_gid g;
	int err = ibv_query_gid(c, port, index, &g);

	memcpy(gid, g.raw, sizeof g.raw);
	return err;
}

static inline struct ibv_mr *shim_register(struct ibv_pd *pd, uint64_t at, size_t n, int access)
{
	return (ibv_reg_mr)(pd, (void *)(uintptr_t)at, n, access);
}

static inline struct ibv_qp *shim_create(struct ibv_pd *pd, struct ibv_cq *cq, int depth)
{
	struct ibv_qp_init_attr a = {
		.send_cq = cq, .recv_cq = cq, .qp_type = IBV_QPT_RC,
		.cap = {.max_send_wr = depth, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1},
	};

	return ibv_create_qp(pd, &a);
}

static inline int shim_init(struct ibv_qp *qp, int port, int access)
{
	struct ibv_qp_attr a = {.qp_state = IBV_QPS_INIT, .port_num = port, .qp_access_flags = access};

	return ibv_modify_qp(qp, &a, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

struct shim_path {
	uint8_t gid[16];
	uint32_t number, peer_psn, psn;
	uint16_t lid;
	int port, index, mtu, reads, served, global, timeout, retries, traffic_class, service_level;
};

static inline int shim_connect(struct ibv_qp *qp, const struct shim_path *p)
{
	struct ibv_qp_attr a = {
		.qp_state = IBV_QPS_RTR, .path_mtu = p->mtu, .dest_qp_num = p->number, .rq_psn = p->peer_psn,
		.max_dest_rd_atomic = p->served, .min_rnr_timer = 12,
		.ah_attr = {.dlid = p->lid, .sl = p->service_level, .port_num = p->port, .is_global = p->global},
	};
	int err;

	if (p->global) {
		a.ah_attr.grh.sgid_index = p->index;
		a.ah_attr.grh.hop_limit = 64;
		a.ah_attr.grh.traffic_class = p->traffic_class;
		memcpy(a.ah_attr.grh.dgid.raw, p->gid, sizeof p->gid);
	}
	err = ibv_modify_qp(qp, &a, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
		IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
	if (err)
		return err;
	memset(&a, 0, sizeof a);
	a.qp_state = IBV_QPS_RTS;
	a.timeout = p->timeout;
	a.retry_cnt = p->retries;
	a.rnr_retry = 7;
	a.sq_psn = p->psn;
	a.max_rd_atomic = p->reads;
	return ibv_modify_qp(qp, &a, IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
		IBV_QP_MAX_QP_RD_ATOMIC);
}

static inline int shim_fail(struct ibv_qp *qp)
{
	struct ibv_qp_attr a = {.qp_state = IBV_QPS_ERR};

	return ibv_modify_qp(qp, &a, IBV_QP_STATE);
}

static inline int shim_read(struct ibv_qp *qp, uint64_t id, uint64_t into, uint32_t n, uint32_t lkey, uint64_t from, uint32_t rkey)
{
	struct ibv_sge part = {.addr = into, .length = n, .lkey = lkey};
	struct ibv_send_wr *bad, w = {
		.wr_id = id, .sg_list = &part, .num_sge = 1, .opcode = IBV_WR_RDMA_READ, .send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {.remote_addr = from, .rkey = rkey},
	};

	return ibv_post_send(qp, &w, &bad);
}

static inline int shim_poll(struct ibv_cq *cq, int n, struct ibv_wc *out) { return ibv_poll_cq(cq, n, out); }

static inline int shim_arm(struct ibv_cq *cq) { return ibv_req_notify_cq(cq, 0); }

// shim_event takes an event off a channel, or returns EAGAIN.
static inline int shim_event(struct ibv_comp_channel *channel)
{
	struct ibv_cq *cq;
	void *context;

	if (ibv_get_cq_event(channel, &cq, &context))
		return errno;
	ibv_ack_cq_events(cq, 1);
	return 0;
}

// What shim_async has taken.
enum { SHIM_OTHER, SHIM_DEVICE_FATAL, SHIM_QUEUE_FATAL, SHIM_PORT_CHANGED };

// shim_async takes an event of the device itself, or returns EAGAIN. It is given back at
// once: a queue pair that has one outstanding cannot be destroyed.
static inline int shim_async(struct ibv_context *c, int *kind, uint32_t *queue)
{
	struct ibv_async_event e;

	if (ibv_get_async_event(c, &e))
		return errno ? errno : EIO;
	*kind = SHIM_OTHER;
	*queue = 0;
	switch (e.event_type) {
	case IBV_EVENT_DEVICE_FATAL:
		*kind = SHIM_DEVICE_FATAL;
		break;
	case IBV_EVENT_QP_FATAL:
	case IBV_EVENT_QP_REQ_ERR:
	case IBV_EVENT_QP_ACCESS_ERR:
		*kind = SHIM_QUEUE_FATAL;
		*queue = e.element.qp->qp_num;
		break;
	case IBV_EVENT_PORT_ACTIVE:
	case IBV_EVENT_PORT_ERR:
	case IBV_EVENT_LID_CHANGE:
	case IBV_EVENT_PKEY_CHANGE:
	case IBV_EVENT_GID_CHANGE:
		*kind = SHIM_PORT_CHANGED;
		break;
	default:
		break;
	}
	ibv_ack_async_event(&e);
	return 0;
}

#endif
