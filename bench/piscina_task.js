/** What piscina's threads do: the body comes back. */
export default (body) => body;
