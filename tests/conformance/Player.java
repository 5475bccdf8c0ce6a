/**
 * A peer that does what it is told, a line an order, through JeroMQ, which speaks an older ZMTP. player.ts has the
 * orders.
 */
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.HashMap;
import java.util.Map;
import java.util.zip.Adler32;
import org.zeromq.ZMQ;

public class Player {
  private static final int PERIOD = 251;
  private static final int SHOWN_BYTES = 64;

  private final ZMQ.Context context = ZMQ.context(1);
  private final Map<String, ZMQ.Socket> sockets = new HashMap<>();

  public static void main(String[] none) throws IOException {
    Player player = new Player();
    BufferedReader orders = new BufferedReader(new InputStreamReader(System.in));
    for (String line = orders.readLine(); line != null; line = orders.readLine()) {
      System.out.println(player.obey(line.split(" ")));
      System.out.flush();
    }
    System.exit(0);
  }

  private String obey(String[] words) {
    switch (words[0]) {
      case "open":
        return open(words);
      case "send":
        return send(words);
      case "receive":
        return receive(sockets.get(words[1]), Integer.parseInt(words[2]));
      default:
        sockets.remove(words[1]).close();
        return "closed";
    }
  }

  private String open(String[] words) {
    ZMQ.Socket socket = context.socket(words[2].equals("REQ") ? ZMQ.REQ : ZMQ.DEALER);
    socket.setLinger(0);
    socket.setHWM(0);
    for (int word = 4; word < words.length; word++) {
      String[] wish = words[word].split("=");
      if (wish[0].equals("identity")) socket.setIdentity(fromHex(wish[1]));
      else if (wish[0].equals("reconnect")) socket.setReconnectIVL(Long.parseLong(wish[1]));
      else return "failed no " + wish[0];
    }
    socket.connect(words[3]);
    sockets.put(words[1], socket);
    return "opened";
  }

  private String send(String[] words) {
    ZMQ.Socket socket = sockets.get(words[1]);
    for (int word = 2; word < words.length; word++) {
      socket.send(content(words[word]), word < words.length - 1 ? ZMQ.SNDMORE : 0);
    }
    return "sent";
  }

  private static String receive(ZMQ.Socket socket, int limit) {
    socket.setReceiveTimeOut(limit);
    StringBuilder said = new StringBuilder("got");
    for (boolean more = true; more; more = socket.hasReceiveMore()) {
      byte[] frame = socket.recv(0);
      if (frame == null) return "nothing";
      said.append(' ').append(show(frame));
    }
    return said.toString();
  }

  private static byte[] content(String token) {
    if (token.equals("-")) return new byte[0];
    if (token.startsWith("x")) return fromHex(token.substring(2));
    String[] fill = token.split(":");
    byte[] bytes = new byte[Integer.parseInt(fill[1])];
    int seed = Integer.parseInt(fill[2]);
    for (int at = 0; at < bytes.length; at++) bytes[at] = (byte) (at % PERIOD + seed);
    return bytes;
  }

  private static byte[] fromHex(String digits) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    for (int at = 0; at < digits.length(); at += 2) {
      bytes.write(Integer.parseInt(digits.substring(at, at + 2), 16));
    }
    return bytes.toByteArray();
  }

  private static String show(byte[] frame) {
    if (frame.length == 0) return "-";
    if (frame.length > SHOWN_BYTES) {
      Adler32 sum = new Adler32();
      sum.update(frame, 0, frame.length);
      return "a:" + frame.length + ":" + sum.getValue();
    }
    StringBuilder digits = new StringBuilder("x:");
    for (byte one : frame) digits.append(String.format("%02x", one));
    return digits.toString();
  }
}
