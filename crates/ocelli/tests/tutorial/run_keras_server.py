"""The tutorial's version in one file: the web process, with the model process as a thread inside it."""

from threading import Thread

from run_model_server import classify_process
from run_web_server import app

if __name__ == "__main__":
    print("* Starting model service...")
    t = Thread(target=classify_process, args=())
    t.daemon = True
    t.start()
    print("* Starting web service...")
    app.run()
