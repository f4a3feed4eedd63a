//go:build cgo && rdma

// The few functions of libibverbs that are called, found when the program runs: so it
// starts where there is no such library, too. READs, polling and arming are no functions
// of the library, but inline in its header, by way of the device's context.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include "shim.h"

// The header has macros of these names.
#undef ibv_reg_mr
#undef ibv_query_port

#define FUNCTIONS(X) \
	X(struct ibv_device **, ibv_get_device_list, (int *n), (n)) \
	X(const char *, ibv_get_device_name, (struct ibv_device *d), (d)) \
	X(struct ibv_context *, ibv_open_device, (struct ibv_device *d), (d)) \
	X(int, ibv_close_device, (struct ibv_context *c), (c)) \
	X(int, ibv_query_device, (struct ibv_context *c, struct ibv_device_attr *a), (c, a)) \
	X(int, ibv_query_port, (struct ibv_context *c, uint8_t p, struct _compat_ibv_port_attr *a), (c, p, a)) \
	X(int, ibv_query_gid, (struct ibv_context *c, uint8_t p, int i, union ibv_gid *g), (c, p, i, g)) \
	X(struct ibv_pd *, ibv_alloc_pd, (struct ibv_context *c), (c)) \
	X(int, ibv_dealloc_pd, (struct ibv_pd *p), (p)) \
	X(struct ibv_mr *, ibv_reg_mr, (struct ibv_pd *p, void *a, size_t n, int f), (p, a, n, f)) \
	X(int, ibv_dereg_mr, (struct ibv_mr *m), (m)) \
	X(struct ibv_comp_channel *, ibv_create_comp_channel, (struct ibv_context *c), (c)) \
	X(int, ibv_destroy_comp_channel, (struct ibv_comp_channel *h), (h)) \
	X(struct ibv_cq *, ibv_create_cq, (struct ibv_context *c, int n, void *x, struct ibv_comp_channel *h, int v), (c, n, x, h, v)) \
	X(int, ibv_destroy_cq, (struct ibv_cq *c), (c)) \
	X(int, ibv_get_cq_event, (struct ibv_comp_channel *h, struct ibv_cq **c, void **x), (h, c, x)) \
	X(int, ibv_get_async_event, (struct ibv_context *c, struct ibv_async_event *e), (c, e)) \
	X(struct ibv_qp *, ibv_create_qp, (struct ibv_pd *p, struct ibv_qp_init_attr *a), (p, a)) \
	X(int, ibv_modify_qp, (struct ibv_qp *q, struct ibv_qp_attr *a, int m), (q, a, m)) \
	X(int, ibv_destroy_qp, (struct ibv_qp *q), (q))

#define LOCAL __attribute__((visibility("hidden")))
#define DEFINE(RESULT, NAME, PARAMETERS, ARGUMENTS) \
	static RESULT (*at_##NAME) PARAMETERS; \
	LOCAL RESULT NAME PARAMETERS { return at_##NAME ARGUMENTS; }
FUNCTIONS(DEFINE)

static void (*at_ibv_free_device_list)(struct ibv_device **);
LOCAL void ibv_free_device_list(struct ibv_device **list) { at_ibv_free_device_list(list); }
static void (*at_ibv_ack_cq_events)(struct ibv_cq *, unsigned);
LOCAL void ibv_ack_cq_events(struct ibv_cq *cq, unsigned n) { at_ibv_ack_cq_events(cq, n); }

static void (*at_ibv_ack_async_event)(struct ibv_async_event *);
LOCAL void ibv_ack_async_event(struct ibv_async_event *e) { at_ibv_ack_async_event(e); }

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char why[256];

// find finds a function, of the version that the header describes.
static void *find(void *library, const char *name)
{
	void *at = dlvsym(library, name, "IBVERBS_1.1");

	if (!at)
		at = dlsym(library, name);
	if (!at && !why[0])
		snprintf(why, sizeof why, "libibverbs.so.1 has no %s", name);
	return at;
}

static void load(void)
{
	void *library = dlopen("libibverbs.so.1", RTLD_NOW | RTLD_LOCAL);

	if (!library) {
		snprintf(why, sizeof why, "%s", dlerror());
		return;
	}
#define FIND(RESULT, NAME, PARAMETERS, ARGUMENTS) at_##NAME = find(library, #NAME);
	FUNCTIONS(FIND)
	at_ibv_free_device_list = find(library, "ibv_free_device_list");
	at_ibv_ack_cq_events = find(library, "ibv_ack_cq_events");
	at_ibv_ack_async_event = find(library, "ibv_ack_async_event");
}

LOCAL const char *shim_load(void)
{
	pthread_once(&once, load);
	return why[0] ? why : NULL;
}
