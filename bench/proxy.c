/*
 * The least that a ZeroMQ broker can be: libzmq's own zmq_proxy between a ROUTER and a DEALER. It gives
 * each request to the next worker in turn, whatever that one has to do, and forgets it.
 *
 *     proxy FRONTEND BACKEND
 */
#include <stdio.h>
#include <zmq.h>

/* Without a limit: the default of 1,000 messages loses replies to one client with many requests. */
static void *bound(void *context, int type, const char *endpoint)
{
    const int unlimited = 0;
    void *socket = zmq_socket(context, type);
    if (socket == NULL) return NULL;
    zmq_setsockopt(socket, ZMQ_SNDHWM, &unlimited, sizeof unlimited);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &unlimited, sizeof unlimited);
    return zmq_bind(socket, endpoint) == 0 ? socket : NULL;
}

/* Says where it listens: the port may be chosen by the system. */
static void announce(void *socket)
{
    char endpoint[256];
    size_t size = sizeof endpoint;
    zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &size);
    puts(endpoint);
    fflush(stdout);
}

int main(int count, char **arguments)
{
    if (count != 3) {
        fputs("usage: proxy FRONTEND BACKEND\n", stderr);
        return 2;
    }
    void *context = zmq_ctx_new();
    void *frontend = bound(context, ZMQ_ROUTER, arguments[1]);
    void *backend = bound(context, ZMQ_DEALER, arguments[2]);
    if (frontend == NULL || backend == NULL) {
        perror("proxy");
        return 1;
    }
    announce(frontend);
    zmq_proxy(frontend, backend, NULL);
    return 0;
}
