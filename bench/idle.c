/*
 * Connections that say nothing: so many are opened, each is let in by ZMTP 3.0's handshake (NULL), and all stay open
 * until stdin ends. Prints how long that took, ms.
 *
 *     idle PORT COUNT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    /* Handshakes at the same time. */
    AT_ONCE = 128,
    GREETING_BYTES = 64,
    /* The longest READY that is expected, with its frame's head. */
    READY_BYTES = 512,
};

/* A frame with the command READY: the name, then the property Socket-Type with the value DEALER. */
static const char ready[] = "\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06" "DEALER";

/* What was read of each connection: the greeting, and then READY. */
typedef struct {
    int descriptor;
    int got;
    unsigned char frame[READY_BYTES];
} connection_t;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double) time.tv_sec * 1e3 + (double) time.tv_nsec / 1e6;
}

static void begin(connection_t *connection, int port, int poll)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t) port) };
    unsigned char greeting[GREETING_BYTES] = { 0xff, [9] = 0x7f, [10] = 3 };
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = connection };
    memcpy(greeting + 12, "NULL", 4);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connection->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->descriptor == -1) fail("idle: socket");
    if (connect(connection->descriptor, (struct sockaddr *) &address, sizeof address) == -1) fail("idle: connect");
    if (send(connection->descriptor, greeting, sizeof greeting, 0) != sizeof greeting) fail("idle: send");
    if (send(connection->descriptor, ready, sizeof ready - 1, 0) != sizeof ready - 1) fail("idle: send");
    fcntl(connection->descriptor, F_SETFL, O_NONBLOCK);
    if (epoll_ctl(poll, EPOLL_CTL_ADD, connection->descriptor, &event) == -1) fail("idle: epoll_ctl");
}

/* Whether the whole of the server's READY is here: behind the greeting, flags, size, and so many bytes. */
static bool is_ready(const connection_t *connection)
{
    int behind = connection->got - GREETING_BYTES;
    return behind >= 2 && behind >= 2 + connection->frame[GREETING_BYTES + 1];
}

static bool take(connection_t *connection)
{
    ssize_t got = recv(connection->descriptor, connection->frame + connection->got,
                       sizeof connection->frame - (size_t) connection->got, 0);
    if (got == 0 || (got == -1 && errno != EAGAIN)) fail("idle: a connection was refused");
    if (got > 0) connection->got += (int) got;
    return is_ready(connection);
}

int main(int count, char **arguments)
{
    if (count != 3) {
        fputs("usage: idle PORT COUNT\n", stderr);
        return 2;
    }
    const int port = atoi(arguments[1]), wanted = atoi(arguments[2]);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    connection_t *connections = calloc((size_t) wanted, sizeof *connections);
    const int poll = epoll_create1(EPOLL_CLOEXEC);
    const double started = now_ms();
    int begun = 0, ended = 0;
    while (ended < wanted) {
        struct epoll_event events[AT_ONCE];
        while (begun < wanted && begun - ended < AT_ONCE) begin(&connections[begun++], port, poll);
        int found = epoll_wait(poll, events, AT_ONCE, 10000);
        if (found <= 0) fail("idle: nothing comes");
        for (int index = 0; index < found; index++) {
            connection_t *connection = events[index].data.ptr;
            if (!take(connection)) continue;
            epoll_ctl(poll, EPOLL_CTL_DEL, connection->descriptor, NULL);
            ended++;
        }
    }
    printf("%.3f\n", now_ms() - started);
    fflush(stdout);
    char ignored;
    while (read(0, &ignored, 1) > 0) continue;
    return 0;
}
