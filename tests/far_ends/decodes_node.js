// Reads text, as data.toString() gives it, and writes the text back; it reads no more while that is not taken.
const net = require("net");
net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
  socket.on("data", (data) => socket.write(data.toString()) || socket.pause());
  socket.on("drain", () => socket.resume());
  socket.on("end", () => socket.end());
  socket.on("error", () => socket.destroy());
}).listen(Number(process.argv[2]), "0.0.0.0");
