/*
 * A worker for proxy.c: a REP that sends each request back as it came.
 *
 *     rep ENDPOINT
 */
#include <stdio.h>
#include <zmq.h>

int main(int count, char **arguments)
{
    if (count != 2) {
        fputs("usage: rep ENDPOINT\n", stderr);
        return 2;
    }
    const int unlimited = 0;
    void *context = zmq_ctx_new();
    void *socket = zmq_socket(context, ZMQ_REP);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &unlimited, sizeof unlimited);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &unlimited, sizeof unlimited);
    if (zmq_connect(socket, arguments[1]) != 0) {
        perror("rep");
        return 1;
    }
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    while (zmq_msg_recv(&frame, socket, 0) >= 0) {
        int flags = zmq_msg_more(&frame) ? ZMQ_SNDMORE : 0;
        if (zmq_msg_send(&frame, socket, flags) < 0) break;
    }
    return 0;
}
