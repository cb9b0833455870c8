// Reads text, as socket.setEncoding or data.toString() give it, and writes the text back.
const net = require("net");
net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
  socket.on("data", (data) => socket.write(data.toString()));
  socket.on("end", () => socket.end());
  socket.on("error", () => socket.destroy());
}).listen(Number(process.argv[2]), "0.0.0.0");
