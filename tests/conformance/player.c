/*
 * A peer that does what it is told, a line an order, through libzmq itself. player.ts has the orders.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

enum { MOST_SOCKETS = 1024, MOST_WORDS = 2048, NAME_BYTES = 32, PERIOD = 251, SHOWN_BYTES = 64 };

static struct {
  char name[NAME_BYTES];
  void *socket;
} sockets[MOST_SOCKETS];

static void fail(const char *what) {
  printf("failed %s: %s\n", what, zmq_strerror(zmq_errno()));
  fflush(stdout);
  exit(1);
}

static int place_of(const char *name) {
  for (int at = 0; at < MOST_SOCKETS; at++)
    if (strcmp(sockets[at].name, name) == 0) return at;
  return -1;
}

static int type_of(const char *name) {
  if (strcmp(name, "REQ") == 0) return ZMQ_REQ;
  return strcmp(name, "ROUTER") == 0 ? ZMQ_ROUTER : ZMQ_DEALER;
}

/* Bytes from their hexadecimal digits; the caller frees them. */
static unsigned char *from_hex(const char *digits, size_t *size) {
  *size = strlen(digits) / 2;
  unsigned char *bytes = malloc(*size + 1);
  for (size_t at = 0; at < *size; at++) {
    unsigned value;
    sscanf(digits + 2 * at, "%2x", &value);
    bytes[at] = value;
  }
  return bytes;
}

static unsigned char *content_of(const char *token, size_t *size) {
  if (token[0] == 'x') return from_hex(token + 2, size);
  unsigned seed = 0;
  *size = 0;
  if (token[0] == 'f') sscanf(token, "f:%zu:%u", size, &seed);
  unsigned char *bytes = malloc(*size + 1);
  for (size_t at = 0; at < *size; at++) bytes[at] = (at % PERIOD + seed) & 255;
  return bytes;
}

static unsigned long adler32(const unsigned char *bytes, size_t size) {
  unsigned long low = 1, high = 0;
  for (size_t at = 0; at < size; at++) {
    low = (low + bytes[at]) % 65521;
    high = (high + low) % 65521;
  }
  return high << 16 | low;
}

static void show(const unsigned char *bytes, size_t size) {
  if (size == 0) printf(" -");
  else if (size > SHOWN_BYTES) printf(" a:%zu:%lu", size, adler32(bytes, size));
  else {
    printf(" x:");
    for (size_t at = 0; at < size; at++) printf("%02x", bytes[at]);
  }
}

static void set_number(void *socket, int option, int value) {
  if (zmq_setsockopt(socket, option, &value, sizeof value) != 0) fail("setsockopt");
}

static void set_bytes(void *socket, int option, const char *digits) {
  size_t size;
  unsigned char *bytes = from_hex(digits, &size);
  if (zmq_setsockopt(socket, option, bytes, size) != 0) fail("setsockopt");
  free(bytes);
}

static void adjust(void *socket, char *wish) {
  char *value = strchr(wish, '=') + 1;
  value[-1] = 0;
  if (strcmp(wish, "identity") == 0) set_bytes(socket, ZMQ_ROUTING_ID, value);
  if (strcmp(wish, "remote") == 0) set_bytes(socket, ZMQ_CONNECT_ROUTING_ID, value);
  if (strcmp(wish, "correlate") == 0) set_number(socket, ZMQ_REQ_CORRELATE, 1);
  if (strcmp(wish, "relaxed") == 0) set_number(socket, ZMQ_REQ_RELAXED, 1);
  if (strcmp(wish, "receive") == 0) set_number(socket, ZMQ_RCVHWM, atoi(value));
  if (strcmp(wish, "reconnect") == 0) set_number(socket, ZMQ_RECONNECT_IVL, atoi(value));
  if (strcmp(wish, "heartbeat") == 0) {
    set_number(socket, ZMQ_HEARTBEAT_IVL, atoi(value));
    set_number(socket, ZMQ_HEARTBEAT_TIMEOUT, 20 * atoi(value));
  }
}

static void open_socket(void *context, char **words, int count) {
  int at = place_of("");
  void *socket = zmq_socket(context, type_of(words[2]));
  if (at < 0 || socket == NULL) fail("socket");
  set_number(socket, ZMQ_LINGER, 0);
  set_number(socket, ZMQ_SNDHWM, 0);
  set_number(socket, ZMQ_RCVHWM, 0);
  set_number(socket, ZMQ_IPV6, strchr(words[3], '[') != NULL);
  for (int word = 4; word < count; word++) adjust(socket, words[word]);
  if (zmq_connect(socket, words[3]) != 0) fail("connect");
  strncpy(sockets[at].name, words[1], NAME_BYTES - 1);
  sockets[at].socket = socket;
  printf("opened\n");
}

static void send_message(void *socket, char **words, int count) {
  for (int word = 2; word < count; word++) {
    size_t size;
    unsigned char *bytes = content_of(words[word], &size);
    if (zmq_send(socket, bytes, size, word < count - 1 ? ZMQ_SNDMORE : 0) < 0) fail("send");
    free(bytes);
  }
  printf("sent\n");
}

static void receive_message(void *socket, int limit) {
  set_number(socket, ZMQ_RCVTIMEO, limit);
  int more = 1;
  for (int frame = 0; more; frame++) {
    zmq_msg_t message;
    zmq_msg_init(&message);
    if (zmq_msg_recv(&message, socket, 0) < 0) {
      printf("nothing\n");
      return;
    }
    if (frame == 0) printf("got");
    show(zmq_msg_data(&message), zmq_msg_size(&message));
    more = zmq_msg_more(&message);
    zmq_msg_close(&message);
  }
  printf("\n");
}

int main(void) {
  void *context = zmq_ctx_new();
  char *line = NULL;
  size_t room = 0;
  while (getline(&line, &room, stdin) > 0) {
    char *words[MOST_WORDS];
    int count = 0;
    for (char *word = strtok(line, " \n"); word != NULL && count < MOST_WORDS; word = strtok(NULL, " \n"))
      words[count++] = word;
    if (strcmp(words[0], "open") == 0) open_socket(context, words, count);
    else {
      int at = place_of(words[1]);
      if (at < 0) fail(words[1]);
      void *socket = sockets[at].socket;
      if (strcmp(words[0], "send") == 0) send_message(socket, words, count);
      else if (strcmp(words[0], "receive") == 0) receive_message(socket, atoi(words[2]));
      else {
        zmq_close(socket);
        sockets[at].name[0] = 0;
        printf("closed\n");
      }
    }
    fflush(stdout);
  }
  return 0;
}
